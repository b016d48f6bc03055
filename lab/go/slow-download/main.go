package main

import (
	"context"
	"io"
	"net"
	"net/http"
	"time"

	"lab/go/lab"
)

var client = &http.Client{Transport: &http.Transport{DialContext: dial}}

func main() {
	for range lab.Pace() {
		if downloads++; downloads <= 12 {
			go download()
		}
	}
}

var downloads int

func dial(ctx context.Context, network, address string) (net.Conn, error) {
	return new(net.Dialer).DialContext(ctx, network, address) // opened here
}

// download takes what it gets at its own pace: a disk, a rate limit.
func download() {
	for {
		answer, err := client.Get(lab.URL())
		if err != nil {
			time.Sleep(time.Second)
			continue
		}
		for {
			if _, err := io.CopyN(io.Discard, answer.Body, 128<<10); err != nil {
				break
			}
			time.Sleep(400 * time.Millisecond)
		}
		answer.Body.Close()
	}
}
