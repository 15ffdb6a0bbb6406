"""Fingerprints of what checks rely on, taken inside a kernel. `integrity.py` sends this file's text there.

`answer(user, mark)` returns a JSON string: functions (name -> fingerprint), hooks (name -> list of words), shadows
(builtins that the notebook's names hide) and reached (the mark that the test cell's last line leaves). Fingerprints
hold no addresses, so that those of two kernels can be compared: a function's are its bytecode, constants, names and
closed-over functions; a builtin's are its type and names; a class's are those of its methods.
"""

import builtins
import functools
import gc
import json
import signal
import sys
import threading
import types
import zlib

LIBRARIES = ("numpy", "jax", "jaxlib", "flax", "optax")
# fmt: off
PUBLIC = [
    "builtins", "math", "cmath", "operator", "functools", "itertools", "statistics", "random",
    "copy", "inspect", "unittest", "unittest.case", "contextlib", "warnings", "json", "time",
    "numpy", "numpy.testing", "numpy.testing._private.utils", "numpy.linalg", "numpy.random",
    "numpy.fft", "numpy._core.numeric", "numpy._core.fromnumeric", "numpy._core._methods",
    "numpy._core.multiarray", "numpy._core.umath", "numpy._core.shape_base",
    "numpy._core.function_base", "numpy._core.arrayprint", "numpy.lib._function_base_impl",
    "numpy.lib._shape_base_impl", "numpy.lib._ufunclike_impl", "numpy.lib._type_check_impl",
    "numpy.lib._nanfunctions_impl", "numpy.lib._twodim_base_impl", "numpy.lib._stride_tricks_impl",
    "numpy.linalg._linalg", "jax", "jax.numpy", "jax.numpy.linalg", "jax.numpy.fft", "jax.nn",
    "jax.nn.initializers", "jax.random", "jax.lax", "jax.scipy.special", "jax.scipy.stats.norm",
    "jax.tree", "jax.tree_util", "jax.test_util", "jax._src.api", "jax._src.array", "jax._src.core",
    "jax._src.pjit", "jax._src.numpy.array_methods", "jax._src.numpy.reductions",
    "jax._src.numpy.ufuncs", "jax._src.numpy.lax_numpy", "jax._src.public_test_util",
    "jax._src.nn.functions", "jax._src.random", "flax", "flax.nnx", "optax", "optax.losses",
    "optax.tree", "optax.tree_utils", "IPython.core.interactiveshell", "IPython.core.displayhook",
    "IPython.core.compilerop", "IPython.core.async_helpers", "ipykernel.ipkernel",
    "ipykernel.kernelbase", "ipykernel.zmqshell", "ipykernel.iostream", "jupyter_client.session",
]
# fmt: on

FUNCTION, CODE = types.FunctionType, types.CodeType
BUILTIN = (
    types.BuiltinFunctionType,
    types.MethodDescriptorType,
    types.WrapperDescriptorType,
    types.MethodWrapperType,
    types.ClassMethodDescriptorType,
    types.GetSetDescriptorType,
    types.MemberDescriptorType,
)


def code(value, crc32=zlib.crc32):
    """A number for a code object; sets are sorted, because their order differs between processes."""
    total = crc32(value.co_code, value.co_flags & 0xFFFF)
    for constant in value.co_consts:
        if isinstance(constant, CODE):
            total = crc32(b"%d" % code(constant), total)
            continue
        if isinstance(constant, frozenset):
            constant = " ".join(sorted(map(repr, constant)))
        elif not isinstance(constant, str):
            constant = repr(constant)
        total = crc32(constant.encode("utf-8", "replace"), total)
    names = " ".join((*value.co_names, "|", *value.co_varnames, "|", *value.co_freevars))
    return crc32(names.encode(), total)


def words(value, depth):
    """What a value is, without addresses; None for data, which may change."""
    if depth < 0:
        return None
    kind = type(value)
    if kind is FUNCTION:
        cells = []
        for cell in value.__closure__ or ():
            try:
                cells.append(words(cell.cell_contents, depth - 1))
            except ValueError:
                cells.append(None)
        inner = value.__dict__.get("__wrapped__")
        default = [type(d).__name__ for d in value.__defaults__ or ()]
        return [
            "function",
            value.__module__,
            code(value.__code__),
            default,
            cells,
            words(inner, depth - 1),
        ]
    if kind is types.MethodType:
        return ["method", words(value.__func__, depth - 1), type(value.__self__).__qualname__]
    if kind in BUILTIN:
        owner = getattr(value, "__self__", None)
        owner = getattr(owner, "__name__", type(owner).__name__)
        return ["builtin", kind.__name__, getattr(value, "__qualname__", value.__name__), owner]
    if kind is property:
        return ["property", words(value.fget, depth - 1), words(value.fset, depth - 1)]
    if kind in (classmethod, staticmethod):
        return [kind.__name__, words(value.__func__, depth - 1)]
    if isinstance(value, type):
        if depth < 2:
            return ["class", value.__module__, value.__qualname__]
        members = {}
        for name, member in dict(vars(value)).items():
            found = words(member, 1) if name not in ("__annotate__", "__annotate_func__") else None
            if found is not None:
                members[name] = found
        return [
            "class",
            value.__module__,
            value.__qualname__,
            [b.__qualname__ for b in value.__bases__],
            members,
        ]
    if kind.__module__ == "numpy" and kind.__name__ == "ufunc":
        return ["ufunc", value.__name__, value.nargs, value.nout, value.types]
    if isinstance(value, functools.partial):
        return ["partial", words(value.func, depth - 1)]
    if callable(value):
        inner = getattr(value, "__wrapped__", None)
        if inner is None and isinstance(getattr(value, "__dict__", None), dict):
            inner = value.__dict__.get("fun", value.__dict__.get("func"))
        return ["callable", kind.__module__, kind.__qualname__, words(inner, depth - 1)]
    return None


def print_of(value, known):
    """A short number for the words of a value, or None for data; `known` holds those of values met before."""
    if id(value) not in known:
        found = words(value, 2)
        known[id(value)] = None if found is None else f"{zlib.crc32(repr(found).encode()):08x}"
    return known[id(value)]


def foreign(function):
    """Whether a function's code lies in no installed file: then it is of the notebook."""
    function = getattr(function, "__func__", function)
    function = getattr(function, "func", function)
    where = getattr(getattr(function, "__code__", None), "co_filename", None)
    if where is None:
        return not isinstance(function, BUILTIN) and type(function).__module__ == "__main__"
    return not (where.startswith("<frozen") or installed(where))


def stranger(thing):
    """Whether an importer is of the notebook: neither it, nor its class, nor its methods are of an installed file."""
    kind = thing if isinstance(thing, type) else type(thing)
    methods = [f for f in vars(kind).values() if isinstance(getattr(f, "__func__", f), FUNCTION)]
    return foreign(thing) if isinstance(thing, FUNCTION) else any(foreign(f) for f in methods)


def installed(path):
    """Whether a path belongs to this Python or its packages, none of which the sandbox can write."""
    return path.startswith((sys.prefix, sys.base_prefix, "/usr/", "/run/contain/"))


def name_of(function):
    """A function's full name, for people."""
    name = getattr(function, "__qualname__", type(function).__qualname__)
    module = getattr(function, "__module__", None) or type(function).__module__
    return f"{module}.{name}"


def hooks(user):
    """What could run beside or instead of the cells; equal in all kernels whose notebook leaves them alone."""
    found = {
        "sys.settrace": [
            name_of(f) for f in (sys.gettrace(), threading.gettrace()) if f is not None
        ],
        "sys.setprofile": [
            name_of(f) for f in (sys.getprofile(), threading.getprofile()) if f is not None
        ],
        "sys.meta_path": [name_of(f) for f in sys.meta_path if stranger(f)],
        "sys.path_hooks": [name_of(f) for f in sys.path_hooks if stranger(f)],
        "sys.excepthook": [name_of(f) for f in (sys.excepthook, sys.unraisablehook) if foreign(f)],
        "sys.displayhook": [type(sys.displayhook).__qualname__],
        "sys.stdout": [type(sys.stdout).__qualname__, type(sys.stderr).__qualname__],
        "gc.callbacks": [name_of(f) for f in gc.callbacks if foreign(f)],
        "signal handlers": [],
        "threads": [],
    }
    if hasattr(sys, "monitoring"):
        found["sys.monitoring"] = [str(n) for n in range(6) if sys.monitoring.get_tool(n)]
    for number in signal.valid_signals():
        handler = signal.getsignal(number)
        if callable(handler) and foreign(handler):
            found["signal handlers"].append(name_of(handler))
    for thread, frame in sys._current_frames().items():
        if thread == threading.main_thread().ident:
            continue
        while frame is not None:
            if not (
                installed(frame.f_code.co_filename)
                or frame.f_code.co_filename.startswith("<frozen")
            ):
                found["threads"].append(frame.f_code.co_name)
                break
            frame = frame.f_back
    modules = [n for n, m in list(sys.modules.items()) if n.split(".")[0] in LIBRARIES]
    found["sys.modules"] = []
    for name in modules:
        module = sys.modules[name]
        file = getattr(module, "__file__", None)
        if not isinstance(module, types.ModuleType) or (
            isinstance(file, str) and not installed(file)
        ):
            found["sys.modules"].append(name)
    shell = sys.modules["ipykernel.zmqshell"].ZMQInteractiveShell._instance
    if shell is None:
        found["IPython"] = ["no shell"]
        return found
    manager = shell.input_transformer_manager
    found["IPython AST transformers"] = [name_of(f) for f in shell.ast_transformers]
    found["IPython input transformers"] = [
        name_of(f)
        for f in [
            *manager.cleanup_transforms,
            *manager.line_transforms,
            *manager.token_transformers,
            *shell.input_transformers_post,
        ]
    ]
    found["IPython exception handlers"] = [
        str(len(shell.custom_exceptions)),
        name_of(shell.CustomTB),
    ]
    found["IPython settings"] = [shell.ast_node_interactivity, type(shell.compile).__qualname__]
    found["IPython events"] = [
        f"{event} {name_of(f)}"
        for event, fs in shell.events.callbacks.items()
        for f in fs
        if foreign(f)
    ]
    # An attribute of an instance hides the method of its class.
    for label, thing in (
        ("IPython shell", shell),
        ("kernel", shell.kernel),
        ("kernel session", shell.kernel.session),
        ("IPython display hook", shell.displayhook),
        ("IPython display publisher", shell.display_pub),
        ("IPython events manager", shell.events),
        ("IPython input manager", manager),
        ("IPython compiler", shell.compile),
    ):
        own = getattr(thing, "__dict__", {})
        found[label] = [type(thing).__qualname__]
        found[label] += sorted(
            k for k, v in own.items() if k in dir(type(thing)) and isinstance(v, FUNCTION)
        )
        found[label] += sorted(
            k for k, v in own.items() if k != "CustomTB" and callable(v) and foreign(v)
        )
    found["kernel"] += [name_of(f) for f in shell.kernel.shell_handlers.values() if foreign(f)]
    found["notebook's own __builtins__"] = [type(user.get("__builtins__")).__name__]
    return found


def answer(user, mark):
    """All of it; `user` are the notebook's names."""
    functions, known = {}, {}
    for label in PUBLIC:
        module = sys.modules.get(label)
        if module is None:
            continue
        for name, value in list(vars(module).items()):
            if name.startswith("__") and label != "builtins":
                continue
            elsewhere = isinstance(value, type) and value.__module__ != label
            if (
                elsewhere
                and label.startswith(("jax", "flax", "optax"))
                and label != "jax._src.array"
            ):
                continue
            found = print_of(value, known)
            if found is not None:
                functions[f"{label}.{name}"] = found
    shadows = sorted(
        set(vars(builtins))
        & set(user) - {"__name__", "__doc__", "__loader__", "__spec__", "__package__"}
    )
    reached = user.pop(mark, None) if mark else None
    return json.dumps(
        {"functions": functions, "hooks": hooks(user), "shadows": shadows, "reached": reached}
    )
