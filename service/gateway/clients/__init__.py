"""Each Salt client of rest_wsgi: runs a low as Salt would."""
