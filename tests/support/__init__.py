"""What tests stand on: servers, folders and flows that are real, and made by the tests themselves."""
