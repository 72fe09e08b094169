"""`onetape run`: a pipeline at the edge, on a tape; where its input comes from, a file each."""
