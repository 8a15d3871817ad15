"""What an installation can do: findings about packages, machine and operators, each with its mend.

Its modules import nothing but the standard library when they are imported, so that they can say
what is missing where everything is. Each check is two functions: one looks, one judges what was
seen.
"""
