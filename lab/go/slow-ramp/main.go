package main

import (
	"context"
	"io"
	"net"
	"net/http"
	"time"

	"lab/go/lab"
)

var client = &http.Client{Transport: &http.Transport{DialContext: dial, MaxIdleConnsPerHost: 100}}

func main() {
	// One more user every second and a half.
	for range time.Tick(1500 * time.Millisecond) {
		go user()
	}
}

func dial(ctx context.Context, network, address string) (net.Conn, error) {
	return new(net.Dialer).DialContext(ctx, network, address) // opened here
}

func user() {
	for range lab.Pace() {
		answer, err := client.Get(lab.URL())
		lab.Must(err)
		io.Copy(io.Discard, answer.Body)
		answer.Body.Close()
	}
}
