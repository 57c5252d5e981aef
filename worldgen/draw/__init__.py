"""The pictures of the bundled world, drawn from geometry: one module per domain, all with the same four names."""
