"""``python -m saltlm VERB``, as for ``accelerate launch -m saltlm adapt`` on many devices."""

from saltlm.cli.main import main

if __name__ == "__main__":
    main()
