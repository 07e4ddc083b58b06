"""Files of scanners: one module for each format, and `table`, which lists them."""
