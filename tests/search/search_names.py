"""File names in the tests of search."""

HOSTILE = "<img src=x onerror=alert(1)> & 'quoted' \"name\".png"
