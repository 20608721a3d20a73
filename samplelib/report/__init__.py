"""A look at facesets: what is measured of each face, findings about one set or two, and the page.

Measuring, statistics, suspects, coverage and findings know no HTML; `charts` and `page` know nothing else.
"""
