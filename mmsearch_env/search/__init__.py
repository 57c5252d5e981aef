"""Search: one protocol, behind it indexes over a world's own pages and pictures, and replayed recordings."""
