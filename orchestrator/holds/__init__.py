"""What asks for a hold: senses and the pure rules behind them."""
