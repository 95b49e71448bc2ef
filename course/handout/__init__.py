"""The hand-outs as one PDF, and the drawings they and the READMEs show (an instructor's tool)."""
