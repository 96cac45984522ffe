"""One file that a person opens, shares and trusts, made of what the stages saved."""
