"""The largest error."""


def largest_error(image, truth):
    """Return the largest error of any pixel."""
    return (image - truth).abs().max()
