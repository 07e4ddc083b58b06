"""Mathematics without tomography: fixed points, linear systems, implicit derivatives."""
