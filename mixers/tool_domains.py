"""The eight domains of mixers.tool_worlds: library, weather, money, mail, trains, stock, hotels, repairs."""

from __future__ import annotations

from typing import Any

from dolma_py.tool_calls import ToolCall
from mixers.tool_worlds import Domain, Draw, Follow, Lookup, identifier, make_specs, text, whole

SKIES = ("clear", "cloudy", "rainy", "windy", "foggy", "snowy")


def _library() -> Domain:
    specs = make_specs(
        ("find_book", "Find a book in the catalogue of the library.", {"title": text("title of the book")}, ["title"]),
        (
            "reserve_book", "Reserve a book for a reader.",
            {"book_id": text("id from the catalogue"), "reader": text("name of the reader"), "weeks": whole("for how long", default=2)},
            ["book_id", "reader"],
        ),
    )  # fmt: skip

    def lookup(draw: Draw) -> Lookup:
        title = draw.word("title")
        return Lookup(
            draw.phrase(f'Does the library have "{title}"?', f'On which shelf is "{title}"?', f'Look up the book "{title}" for me.'),
            ToolCall("find_book", {"title": title}),
            lambda found: f'"{title}" stands on shelf {found["shelf"]}, its id is {found["book_id"]}.',
            "Can you look up a book in the library for me?", "Which book is it?", f"{title}, please.",
        )  # fmt: skip

    def follow(draw: Draw, wish: Lookup) -> Follow:
        reader, weeks = draw.word("person"), draw.number(1, 6)
        arguments: dict[str, Any] = {"reader": reader} | ({"weeks": weeks} if weeks != 2 else {})
        span = "" if weeks == 2 else f" for {weeks} week{'s' if weeks > 1 else ''}"
        return Follow(
            f"Please reserve it for {reader}{span}.", f"and reserve it for {reader}{span}",
            lambda found: ToolCall("reserve_book", {"book_id": found["book_id"], **arguments}),
            lambda found, done: f"It is reserved for {reader} under number {done['reservation']}.",
        )  # fmt: skip

    results = {
        "find_book": lambda rng, title: {
            "book_id": identifier(rng, "B"),
            "shelf": rng.randrange(10, 99),
            "title": title,
        },
        "reserve_book": lambda rng, book_id, reader, weeks=2: {"reservation": identifier(rng, "R"), "weeks": weeks},
    }
    return Domain("library", specs, results, lookup, follow, False)


def _weather() -> Domain:
    specs = make_specs(
        (
            "get_forecast", "Weather of one day in one city.",
            {"city": text("name of the city"), "day": text("day of the week")}, ["city", "day"],
        ),
        (
            "set_reminder", "Remind the user of something on a day.",
            {"day": text("day of the week"), "text": text("what to say"), "hour": whole("hour of the day", minimum=0, maximum=23, default=8)},
            ["day", "text"],
        ),
    )  # fmt: skip

    def lookup(draw: Draw) -> Lookup:
        city, day = draw.word("city"), draw.day()
        return Lookup(
            draw.phrase(f"What will the weather be in {city} on {day}?", f"How warm does it get in {city} on {day}?"),
            ToolCall("get_forecast", {"city": city, "day": day}),
            lambda found: f"In {city} it will be {found['sky']} on {day}, {found['degrees']} degrees.",
            f"What will the weather be like on {day}?", "For which city?", f"For {city}.",
        )  # fmt: skip

    def follow(draw: Draw, wish: Lookup) -> Follow:
        day, hour = wish.call.arguments["day"], draw.number(5, 22)
        arguments: dict[str, Any] = {"hour": hour} if hour != 8 else {}
        return Follow(
            f"Remind me on that day at {hour}: the text is the sky as one word.",
            f"and remind me on that day at {hour} with the sky as the text, one word",
            lambda found: ToolCall("set_reminder", {"day": day, "text": found["sky"], **arguments}),
            lambda found, done: f"The reminder {done['reminder']} is set for {day} at {hour}.",
        )

    results = {
        "get_forecast": lambda rng, city, day: {"sky": rng.choice(SKIES), "degrees": rng.randrange(-9, 35)},
        "set_reminder": lambda rng, day, text, hour=8: {"reminder": identifier(rng, "M"), "hour": hour},
    }
    return Domain("weather", specs, results, lookup, follow, False)


def _money() -> Domain:
    specs = make_specs(
        (
            "get_rate", "Rate of exchange between two currencies.",
            {"from": text("code of the currency that is given"), "to": text("code of the currency that is wanted")}, ["from", "to"],
        ),
        (
            "exchange", "Exchange an amount at a rate.",
            {"amount": {"type": "number", "description": "how much"}, "rate": {"type": "number", "description": "rate from get_rate"}},
            ["amount", "rate"],
        ),
    )  # fmt: skip

    def lookup(draw: Draw) -> Lookup:
        given, wanted = draw.two("code")
        return Lookup(
            draw.phrase(f"What is the rate from {given} to {wanted}?", f"How many {wanted} do I get for one {given}?"),
            ToolCall("get_rate", {"from": given, "to": wanted}),
            lambda found: f"One {given} is {found['rate']} {wanted}.",
            f"What is my {given} worth in another currency?", "In which currency do you want to know it?", f"In {wanted}.",
        )  # fmt: skip

    def follow(draw: Draw, wish: Lookup) -> Follow:
        amount = draw.number(2, 90) * 10
        return Follow(
            f"Then exchange {amount} at that rate.", f"and exchange {amount} at that rate",
            lambda found: ToolCall("exchange", {"amount": amount, "rate": found["rate"]}),
            lambda found, done: f"That gives {done['paid']}, receipt {done['receipt']}.",
        )  # fmt: skip

    results = {
        "get_rate": lambda rng, to, **given: {"rate": rng.randrange(20, 900) / 100},
        "exchange": lambda rng, amount, rate: {"paid": round(amount * rate, 2), "receipt": identifier(rng, "X")},
    }
    return Domain("money", specs, results, lookup, follow, False)


def _mail() -> Domain:
    specs = make_specs(
        ("find_contact", "Find a person's address of e-mail.", {"name": text("first and last name")}, ["name"]),
        (
            "send_mail", "Send an e-mail.",
            {"to": text("address"), "subject": text("the subject"), "is_urgent": {"type": "boolean", "default": False}}, ["to", "subject"],
        ),
    )  # fmt: skip

    def lookup(draw: Draw) -> Lookup:
        person = draw.word("person")
        return Lookup(
            draw.phrase(f"What is {person}'s e-mail address?", f"Find the address of {person}."),
            ToolCall("find_contact", {"name": person}),
            lambda found: f"{person} is reached at {found['address']}.",
            "I need somebody's e-mail address.", "Whose address do you need?", f"That of {person}.",
        )  # fmt: skip

    def follow(draw: Draw, wish: Lookup) -> Follow:
        subject, is_urgent = draw.word("note"), draw.number(0, 1) == 1
        arguments: dict[str, Any] = {"subject": subject} | ({"is_urgent": True} if is_urgent else {})
        urgent = "an urgent" if is_urgent else "a"
        return Follow(
            f'Send {urgent} mail there with the subject "{subject}".', f'and send {urgent} mail there with the subject "{subject}"',
            lambda found: ToolCall("send_mail", {"to": found["address"], **arguments}),
            lambda found, done: f"The mail is sent as {done['message']}.",
        )  # fmt: skip

    results = {
        "find_contact": lambda rng, name: {"address": f"{name.split()[-1].lower()}{rng.randrange(10, 99)}@example.org"},
        "send_mail": lambda rng, to, subject, is_urgent=False: {"message": identifier(rng, "E")},
    }
    return Domain("mail", specs, results, lookup, follow, False)


def _trains() -> Domain:
    specs = make_specs(
        (
            "find_train", "The next train between two cities on a day.",
            {"origin": text("city of departure"), "destination": text("city of arrival"), "day": text("day of the week")},
            ["origin", "destination", "day"],
        ),
        (
            "book_seats", "Book seats in a train.",
            {
                "train": text("number of the train"), "passengers": whole("how many", minimum=1),
                "class": text("of the coach", enum=["first", "second"], default="second"),
            },
            ["train", "passengers"],
        ),
    )  # fmt: skip

    def lookup(draw: Draw) -> Lookup:
        (origin, destination), day = draw.two("city"), draw.day()
        return Lookup(
            draw.phrase(f"Is there a train from {origin} to {destination} on {day}?",
                f"How do I get from {origin} to {destination} by train on {day}?"),
            ToolCall("find_train", {"origin": origin, "destination": destination, "day": day}),
            lambda found: f"Train {found['train']} leaves {origin} at {found['departure']}.",
            f"When does a train leave {origin} for {destination}?", "On which day do you want to travel?", f"On {day}.",
        )  # fmt: skip

    def follow(draw: Draw, wish: Lookup) -> Follow:
        count, is_first = draw.number(1, 5), draw.number(0, 1) == 1
        seats = f"{count} seat{'s' if count > 1 else ''} in {'first' if is_first else 'second'} class"
        arguments: dict[str, Any] = {"passengers": count} | ({"class": "first"} if is_first else {})
        return Follow(
            f"Book {seats}, please.", f"and book {seats}",
            lambda found: ToolCall("book_seats", {"train": found["train"], **arguments}),
            lambda found, done: f"The seats are booked, number {done['booking']}.",
        )  # fmt: skip

    results = {
        "find_train": lambda rng, origin, destination, day: {
            "train": identifier(rng, "T"), "departure": f"{rng.randrange(6, 22)}:{rng.randrange(10, 60)}",
        },
        "book_seats": lambda rng, train, passengers, **more: {"booking": identifier(rng, "S")},
    }  # fmt: skip
    return Domain("trains", specs, results, lookup, follow, False)


def _stock() -> Domain:
    specs = make_specs(
        ("check_stock", "How many of an article a warehouse holds.",
         {"item": text("the article"), "city": text("of the warehouse")}, ["item", "city"]),
        (
            "order_parts", "Order articles.",
            {"article": text("number from check_stock"), "counts": {"type": "array", "items": {"type": "integer"}, "description": "of each parcel"}},
            ["article", "counts"],
        ),
    )  # fmt: skip

    def lookup(draw: Draw) -> Lookup:
        item, city = draw.word("item"), draw.word("city")
        return Lookup(
            draw.phrase(f"How many of the article {item} are in the warehouse in {city}?", f"Check the stock of {item} in {city}."),
            ToolCall("check_stock", {"item": item, "city": city}),
            lambda found: f"The warehouse in {city} holds {found['count']}, article {found['article']}.",
            f"Do we have the article {item} in stock?", "Which warehouse do you mean?", f"The one in {city}.",
        )  # fmt: skip

    def follow(draw: Draw, wish: Lookup) -> Follow:
        first, second = draw.number(2, 20), draw.number(2, 20)
        return Follow(
            f"Order it in two parcels, one of {first} and one of {second}.", f"and order it in two parcels, one of {first} and one of {second}",
            lambda found: ToolCall("order_parts", {"article": found["article"], "counts": [first, second]}),
            lambda found, done: f"Order {done['order']} is placed.",
        )  # fmt: skip

    results = {
        "check_stock": lambda rng, item, city: {"article": identifier(rng, "A"), "count": rng.randrange(0, 500)},
        "order_parts": lambda rng, article, counts: {"order": identifier(rng, "O"), "parcels": len(counts)},
    }
    return Domain("stock", specs, results, lookup, follow, False)


def _hotels() -> Domain:
    specs = make_specs(
        ("search_room", "A free room in a city.", {"city": text("name of the city"), "guests": whole("how many", minimum=1)}, ["city", "guests"]),
        (
            "book_room", "Book a room.",
            {"room": text("id from search_room"), "nights": whole("how many"), "breakfast": {"type": "boolean", "default": False}},
            ["room", "nights"],
        ),
    )  # fmt: skip

    def lookup(draw: Draw) -> Lookup:
        city, guests = draw.word("city"), draw.number(2, 5)
        return Lookup(
            draw.phrase(f"Is there a hotel room for {guests} guests in {city}?", f"Find a room in {city} for {guests} people."),
            ToolCall("search_room", {"city": city, "guests": guests}),
            lambda found: f"Room {found['room']} in {city} costs {found['price']} a night.",
            f"I need a hotel room in {city}.", "For how many guests?", f"For {guests}.",
        )  # fmt: skip

    def follow(draw: Draw, wish: Lookup) -> Follow:
        nights, is_fed = draw.number(2, 9), draw.number(0, 1) == 1
        arguments: dict[str, Any] = {"nights": nights} | ({"breakfast": True} if is_fed else {})
        stay = f"{nights} nights {'with' if is_fed else 'without'} breakfast"
        return Follow(
            f"Book it for {stay}.", f"and book it for {stay}",
            lambda found: ToolCall("book_room", {"room": found["room"], **arguments}),
            lambda found, done: f"The room is booked, number {done['booking']}.",
        )  # fmt: skip

    results = {
        "search_room": lambda rng, city, guests: {"room": identifier(rng, "H"), "price": rng.randrange(60, 300)},
        "book_room": lambda rng, room, nights, breakfast=False: {"booking": identifier(rng, "K")},
    }
    return Domain("hotels", specs, results, lookup, follow, True)


def _repairs() -> Domain:
    specs = make_specs(
        ("find_plumber", "A plumber who has time on a day.", {"city": text("name of the city"), "day": text("day of the week")}, ["city", "day"]),
        (
            "book_visit", "Book a visit of a plumber.",
            {"plumber": text("id from find_plumber"), "hour": whole("hour of the day", minimum=7, maximum=18)}, ["plumber", "hour"],
        ),
    )  # fmt: skip

    def lookup(draw: Draw) -> Lookup:
        city, day = draw.word("city"), draw.day()
        return Lookup(
            draw.phrase(f"Is there a plumber in {city} with time on {day}?", f"Find me a plumber in {city} for {day}."),
            ToolCall("find_plumber", {"city": city, "day": day}),
            lambda found: f"{found['name']} has time on {day}, id {found['plumber']}.",
            f"I need a plumber in {city}.", "On which day?", f"On {day}.",
        )  # fmt: skip

    def follow(draw: Draw, wish: Lookup) -> Follow:
        hour = draw.number(7, 18)
        return Follow(
            f"Book the visit for {hour} o'clock.", f"and book the visit for {hour} o'clock",
            lambda found: ToolCall("book_visit", {"plumber": found["plumber"], "hour": hour}),
            lambda found, done: f"The visit is booked, number {done['visit']}.",
        )  # fmt: skip

    results = {
        "find_plumber": lambda rng, city, day: {
            "plumber": identifier(rng, "P"),
            "name": rng.choice(("Nadia Ortiz", "Oscar Lind", "Rosa Engel")),
        },
        "book_visit": lambda rng, plumber, hour: {"visit": identifier(rng, "V")},
    }
    return Domain("repairs", specs, results, lookup, follow, True)


DOMAINS = {
    domain.name: domain
    for domain in (_library(), _weather(), _money(), _mail(), _trains(), _stock(), _hotels(), _repairs())
}
