"""Ten workers share a pool of http.client connections."""

import http.client
import queue

import lab

pool = queue.LifoQueue()
for _ in range(6):
    pool.put(http.client.HTTPConnection(lab.HOST, lab.PORT))


def work():
    for _ in lab.paced():
        client = pool.get()
        client.request("GET", "/")
        client.getresponse().read()
        pool.put(client)


for _ in range(10):
    lab.begin(work)
lab.stay()
