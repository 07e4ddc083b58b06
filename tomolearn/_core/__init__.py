"""What every layer shares: argument checks and optional imports."""
