package main

import (
	"context"
	"io"
	"net"
	"net/http"
	"sync"
	"time"

	"lab/go/lab"
)

var client = &http.Client{Transport: &http.Transport{DialContext: dial, MaxIdleConnsPerHost: 8}}

func main() {
	for {
		var calls sync.WaitGroup
		for call := 0; call < 8; call++ {
			calls.Add(1)
			go func() {
				defer calls.Done()
				fetch()
			}()
		}
		calls.Wait()
		time.Sleep(45 * time.Second)
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
