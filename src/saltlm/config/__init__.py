"""Options of each verb, and how options are read and checked."""
