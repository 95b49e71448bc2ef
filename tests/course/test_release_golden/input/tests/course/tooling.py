"""What tests the tooling."""
