"""The command line: thin commands over the rooms behind them."""
