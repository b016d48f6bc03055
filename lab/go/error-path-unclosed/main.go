package main

import (
	"context"
	"io"
	"log"
	"net"
	"net/http"

	"lab/go/lab"
)

var client = &http.Client{Transport: &http.Transport{DialContext: dial, MaxIdleConnsPerHost: 10}}

func main() {
	call := 0
	for range lab.Pace() {
		call++
		fetch(call%3 == 0)
	}
}

func dial(ctx context.Context, network, address string) (net.Conn, error) {
	return new(net.Dialer).DialContext(ctx, network, address) // opened here
}

func fetch(refused bool) {
	answer, err := client.Get(lab.URL())
	if err != nil {
		log.Print(err)
		return
	}
	if refused {
		return // As many do where the status is not 200: before the defer.
	}
	defer answer.Body.Close()
	io.Copy(io.Discard, answer.Body)
}
