// client PORT COUNT: opens COUNT connections, and keeps them until the end of its
// standard input.
package main

import (
	"bufio"
	"fmt"
	"net"
	"os"
	"strconv"
	"time"
)

var held []net.Conn

//go:noinline
func fetch(port string) {
	connection, err := net.Dial("tcp", "127.0.0.1:"+port)
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	held = append(held, connection)
}

//go:noinline
func fetchOtherwise(port string) {
	fetch(port)
	time.Sleep(time.Millisecond)
}

func main() {
	count, _ := strconv.Atoi(os.Args[2])
	input := bufio.NewReader(os.Stdin)
	fmt.Println("ready")
	input.ReadByte()
	for i := 0; i < count; i++ {
		fetch(os.Args[1])
		fetchOtherwise(os.Args[1])
		time.Sleep(20 * time.Millisecond)
	}
	fmt.Println("opened")
	for {
		if _, err := input.ReadByte(); err != nil {
			return
		}
	}
}
