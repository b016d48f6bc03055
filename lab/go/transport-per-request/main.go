package main

import (
	"context"
	"io"
	"log"
	"net"
	"net/http"

	"lab/go/lab"
)

func main() {
	for range lab.Pace() {
		fetch()
	}
}

func dial(ctx context.Context, network, address string) (net.Conn, error) {
	return new(net.Dialer).DialContext(ctx, network, address) // opened here
}

func fetch() {
	client := &http.Client{Transport: &http.Transport{DialContext: dial}}
	answer, err := client.Get(lab.URL())
	if err != nil {
		log.Print(err)
		return
	}
	defer answer.Body.Close()
	io.Copy(io.Discard, answer.Body)
}
