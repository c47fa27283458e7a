"""One module per verb of the command line, so that a rule depends on its own verb's code only."""
