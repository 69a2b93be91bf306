"""HTTP: OpenAI's routes, the native ones, and the processes behind them."""
