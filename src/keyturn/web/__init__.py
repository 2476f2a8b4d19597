"""Static files served to browsers."""
