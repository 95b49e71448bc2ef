"""The release itself."""
