"""How good the edits are, measured through a server on held-out scenes and sentences: `make quality`.

`cases` names a thing in a scene, `truth` draws what the edit should have made of it, `measures` compares two
pictures, `edits` asks for the edits, `figures` says what each figure should reach.
"""
