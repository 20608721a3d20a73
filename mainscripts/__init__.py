"""One module for each subcommand of main.py: asks, shows progress, and calls the rooms below."""
