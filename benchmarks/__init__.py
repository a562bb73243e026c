"""The benchmarks that `make bench` runs. They measure; they assert nothing but correct bytes.

Every side is a process of its own: a *worker* serves or runs one workload for one *peer* (a way to
carry bytes: keynet's or a foreign one), *middles* (nodes, a lossy forwarder) stand between them, on
a *network* (loopback, or two namespaces joined by a veth pair). A *scenario* says which workload
and peers to run where; the runner interleaves their repeats and the report takes medians.
"""
