package main

import (
	"context"
	"fmt"
	"io"
	"log"
	"net"
	"net/http"

	"lab/go/lab"
)

var client = &http.Client{Transport: &http.Transport{DialContext: dial}}

func main() {
	host := 0
	for range lab.Pace() {
		host++
		visit(fmt.Sprintf("http://10.78.%d.%d:%d/", host/250, host%250+1, lab.Port()))
	}
}

func dial(ctx context.Context, network, address string) (net.Conn, error) {
	return new(net.Dialer).DialContext(ctx, network, address) // opened here
}

func visit(url string) {
	answer, err := client.Get(url)
	if err != nil {
		log.Print(err)
		return
	}
	defer answer.Body.Close()
	io.Copy(io.Discard, answer.Body)
}
