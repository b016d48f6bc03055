package main

import (
	"fmt"
	"net"
	"net/http"

	"lab/go/lab"
)

func main() {
	http.HandleFunc("/", func(answer http.ResponseWriter, _ *http.Request) {
		fmt.Fprint(answer, "ok")
	})
	listener, err := net.Listen("tcp", fmt.Sprintf(":%d", lab.Port()))
	lab.Must(err)
	serve(listener)
}

func serve(listener net.Listener) {
	lab.Must(http.Serve(listener, nil)) // opened here
}
