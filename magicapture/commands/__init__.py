"""The command line, a module for each command: ``add_command`` describes it, ``run_…`` does it."""
