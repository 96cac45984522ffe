"""``python -m saltlm.adapt``, for ``accelerate launch -m saltlm.adapt ...`` on many devices."""

import sys

from saltlm.cli.main import main

if __name__ == "__main__":
    main(["adapt", *sys.argv[1:]])
