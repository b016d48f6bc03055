package main

import (
	"context"
	"io"
	"net"
	"net/http"

	"lab/go/lab"
)

var client = &http.Client{Transport: &http.Transport{DialContext: dial, MaxIdleConnsPerHost: 20}}

func main() {
	for range lab.Pace() {
		for call := 0; call < 5; call++ {
			go fetch()
		}
	}
}

func dial(ctx context.Context, network, address string) (net.Conn, error) {
	return new(net.Dialer).DialContext(ctx, network, address) // opened here
}

func fetch() {
	answer, err := client.Get(lab.URL())
	lab.Must(err)
	defer answer.Body.Close()
	io.Copy(io.Discard, answer.Body)
}
