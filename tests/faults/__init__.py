"""Kills and damage, in children that are forked; see docs/reliability.md."""
