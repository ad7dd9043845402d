"""`inorder doctor`: what in a real configuration can break order. It looks, and changes nothing.

Facts are gathered once, by one module a technology; each check is a small function of them, in one table.
"""
