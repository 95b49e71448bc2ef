"""The notebooks' pictures: one module a chapter, drawn with matplotlib in one style."""
