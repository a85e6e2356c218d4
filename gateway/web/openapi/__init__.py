"""What the gateway answers, told: an OpenAPI 3.1 document, and a page made of it.

`operations` are the routes as data, `schemas` the shapes of bodies, taken from the types that make
them where there are such types; `document` puts both together for the settings in force, and
`page` shows it. Decides nothing about any answer.
"""
