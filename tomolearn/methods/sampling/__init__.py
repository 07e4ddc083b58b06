"""Methods that sample a posterior."""
