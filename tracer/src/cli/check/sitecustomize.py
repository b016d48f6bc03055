"""Tells tcpleak which line of Python opens a connection.

`tcpleak check` puts this file's folder first on PYTHONPATH. Python imports it at
its start; it writes a line for each connect and changes nothing else. Whatever
goes wrong here costs that line its name and is not the program's business.
"""


def _install():
    import os
    import sys

    out = os.environ.get("TCPLEAK_PYTHON")
    if not out or not hasattr(sys, "addaudithook"):
        return

    import _thread
    import time

    # As they are now: a test may put others in their places.
    open_, write, close = os.open, os.write, os.close
    getpid, get_tid = os.getpid, _thread.get_native_id
    now, clock = time.clock_gettime_ns, time.CLOCK_BOOTTIME
    getframe, flags = sys._getframe, os.O_WRONLY | os.O_APPEND | os.O_CLOEXEC
    library = os.path.dirname(os.__file__) + "/"
    packages = ("/site-packages/", "/dist-packages/")

    def clean(text):
        for mark in "\t\n\x1f":
            text = text.replace(mark, " ")
        return text[:512]

    def told(frame):
        code = frame.f_code
        path = code.co_filename
        of_library = path.startswith((library, "<frozen")) or any(
            part in path for part in packages
        )
        module = frame.f_globals.get("__name__")
        name = getattr(code, "co_qualname", code.co_name)
        if isinstance(module, str):
            name = module + "." + name
        kind = "L" if of_library else "P"
        fields = (kind, str(frame.f_lineno), clean(name), clean(path))
        return "\x1f".join(fields)

    def record(socket):
        head = "%d %d %d %d" % (getpid(), get_tid(), socket.fileno(), now(clock))
        parts = [head]
        frame = getframe(2)
        while frame is not None and len(parts) <= 64:
            parts.append(told(frame))
            frame = frame.f_back
        put("\t".join(parts) + "\n")

    def put(line):
        # Opened for each: a program counts, closes and passes on what it has open.
        fd = open_(out, flags)
        try:
            write(fd, line.encode("utf-8", "replace"))
        finally:
            close(fd)

    def hook(event, arguments):
        if event == "socket.connect":
            try:
                record(arguments[0])
            except Exception:
                pass

    def ends():
        # What is closed from now on is closed by the interpreter, which takes its
        # modules apart; what the program's own handlers close was closed before.
        try:
            put("exit %d %d\n" % (getpid(), now(clock)))
        except Exception:
            pass

    sys.addaudithook(hook)
    # The first to be registered is the last to be called.
    import atexit

    atexit.register(ends)


def _go_on():
    """Makes room for the sitecustomize that would have been found without us."""
    import sys

    own = sys.modules.pop("sitecustomize", None)
    here = __file__.rpartition("/")[0]
    sys.path[:] = [folder for folder in sys.path if folder != here]
    try:
        import sitecustomize  # noqa: F401
    except ImportError as error:
        if getattr(error, "name", None) != "sitecustomize":
            raise
    finally:
        if own is not None:
            sys.modules.setdefault("sitecustomize", own)


try:
    _install()
except Exception:
    pass
_go_on()
