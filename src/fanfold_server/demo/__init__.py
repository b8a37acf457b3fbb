"""`fanfold demo`: the product in one minute, as a user sees it.

It starts a server of its own, speaks to it with curl, compares the answers with the documented
ones and writes a page that shows them. Nothing here is imported by the server, and nothing of the
server is imported here: the demo knows what the documentation says, and no more.
"""
