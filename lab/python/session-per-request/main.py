"""A client for each request, kept with what it fetched."""

import http.client

import lab

results = []


def fetch():
    client = http.client.HTTPConnection(lab.HOST, lab.PORT)
    client.request("GET", "/")
    body = client.getresponse().read()
    results.append((client, body))


for _ in lab.paced():
    fetch()
