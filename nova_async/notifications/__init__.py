"""Versioned notifications: what Nova's consumers hear of each change, under Nova's names and in Nova's form.

``outbox`` keeps them in the transaction of the change itself, ``publisher`` hands them to the bus, ``events`` is the table of
what may be told, ``payloads`` makes what is told. Source: Nova's notification reference and its samples.
"""
