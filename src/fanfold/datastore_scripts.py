"""What `client.ds` has run on the server, in the environment and with the rights of its caller.

Stored like any text that is sent with a run. The forms in which objects travel are read and written
by `datastores.py`: JSON as text, so that 6.0 stays a float; arrays as type, shape and bytes;
DataFrames as an Arrow stream, else as pandas writes them.
"""

SAVE = """\
def datastore_save(name, values, arrays, frames, options):
    import base64
    import io
    import json
    import oml

    objects = json.loads(values)
    for key, (kind, shape, text) in arrays.items():
        import numpy

        flat = numpy.frombuffer(base64.b64decode(text), dtype=kind)
        objects[key] = flat.reshape(shape).copy()
    for key, (form, text) in frames.items():
        if form == "arrow":
            import pyarrow

            with pyarrow.ipc.open_stream(base64.b64decode(text)) as stream:
                objects[key] = stream.read_pandas()
        else:
            import pandas

            objects[key] = pandas.read_json(io.StringIO(text), orient="split")
    oml.ds.save(objects, name=name, **options)
"""

LOAD = """\
def datastore_load(name, objects, owner, arrow):
    import base64
    import json
    import oml

    def is_plain(value):
        if value is None or type(value) in (bool, int, float, str):
            return True
        if type(value) in (list, tuple):
            return all(map(is_plain, value))
        return type(value) is dict and all(
            type(key) is str and is_plain(part) for key, part in value.items()
        )

    def of_frame(value):
        if arrow:
            try:
                import pyarrow
            except ImportError:
                pass
            else:
                table = pyarrow.Table.from_pandas(value)
                sink = pyarrow.BufferOutputStream()
                with pyarrow.ipc.new_stream(sink, table.schema) as out:
                    out.write_table(table)
                return {"arrow": base64.b64encode(sink.getvalue()).decode()}
        return {"split": value.to_json(orient="split", date_format="iso", double_precision=15)}

    def told(value):
        kind = type(value)
        home = kind.__module__.partition(".")[0]
        if home == "pandas" and kind.__name__ == "DataFrame":
            return of_frame(value)
        if home == "numpy" and kind.__name__ == "ndarray" and value.dtype.kind in "biufcSUmM":
            text = base64.b64encode(value.tobytes()).decode()
            return {"array": [value.dtype.str, list(value.shape), text]}
        if home == "numpy" and kind.__name__ != "ndarray" and hasattr(value, "item"):
            value = value.item()
        if is_plain(value):
            return {"json": json.dumps(value)}
        return {"class": kind.__qualname__}

    found = oml.ds.load(name, objs=objects, owner=owner, to_globals=False)
    return {"objects": [[key, told(value)] for key, value in found.items()]}
"""
