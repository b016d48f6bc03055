package main

import (
	"bufio"
	"context"
	"net"
	"net/http"
	"time"

	"lab/go/lab"
)

var client = &http.Client{Transport: &http.Transport{DialContext: dial}}

func main() {
	for range lab.Pace() {
		if pollers++; pollers <= 30 {
			go poll()
		}
	}
}

var pollers int

func dial(ctx context.Context, network, address string) (net.Conn, error) {
	return new(net.Dialer).DialContext(ctx, network, address) // opened here
}

// poll waits for news for twenty-five seconds, and asks again.
func poll() {
	for {
		answer, err := client.Get(lab.URL())
		if err != nil {
			time.Sleep(time.Second)
			continue
		}
		lines := bufio.NewScanner(answer.Body)
		for lines.Scan() {
		}
		answer.Body.Close()
	}
}
