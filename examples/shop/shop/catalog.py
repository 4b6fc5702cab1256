"""The catalogue: a few thousand products in memory, with a full-text index.

GET /products?q=oak+table&page=2    one page of what matches, best first
GET /products/42                    one product
"""

import random
import re
from bisect import bisect_left
from collections import defaultdict
from dataclasses import dataclass

from shop.http import HttpError, Request, Response, Service, as_json, whole_number

PRODUCTS = 3_000
PAGE_SIZE = 20
PREFIX_WORDS_MAX = 50
"""Words that the last, perhaps unfinished word of a query is completed to."""

MATERIALS = ("oak", "walnut", "birch", "steel", "copper", "linen", "wool", "glass", "clay", "cork")
THINGS = (
    "table",
    "chair",
    "lamp",
    "shelf",
    "bench",
    "mirror",
    "bowl",
    "kettle",
    "blanket",
    "clock",
)
STYLES = ("plain", "carved", "folding", "nordic", "rustic", "round", "tall", "woven", "painted")
ROOMS = ("kitchen", "garden", "bedroom", "study", "hallway", "balcony", "workshop", "nursery")
CLAIMS = (
    "made to last a lifetime",
    "repaired free of charge for ten years",
    "finished by hand",
    "shipped flat and assembled in minutes",
    "from wood and metal found nearby",
    "safe in the dishwasher of any ship",
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Product:
    id: int
    name: str
    description: str
    price_cents: int
    popularity: int
    """Breaks ties between equally good matches."""

    def shown(self) -> dict[str, int | str]:
        """What callers get. Twenty a page: dataclasses.asdict would take most of the request."""
        return {
            "id": self.id,
            "name": self.name,
            "description": self.description,
            "price_cents": self.price_cents,
        }


def generate(count: int = PRODUCTS) -> list[Product]:
    """The same products in every instance, whatever the machine."""
    draw = random.Random(1851)
    products = []
    for number in range(1, count + 1):
        style, material, thing = draw.choice(STYLES), draw.choice(MATERIALS), draw.choice(THINGS)
        products.append(
            Product(
                id=number,
                name=f"{style} {material} {thing}".capitalize(),
                description=f"For the {draw.choice(ROOMS)}, {draw.choice(CLAIMS)}.",
                price_cents=draw.randrange(500, 90_000, 5),
                popularity=draw.randrange(1_000),
            )
        )
    return products


def words_of(text: str) -> list[str]:
    return re.findall(r"[a-z0-9]+", text.lower())


class Catalogue:
    """Products and an inverted index: word -> product id -> weight."""

    def __init__(self, products: list[Product]) -> None:
        self.products = {product.id: product for product in products}
        self.ranked = sorted(products, key=lambda product: (-product.popularity, product.id))
        self._index: defaultdict[str, dict[int, int]] = defaultdict(dict)
        for product in products:
            for text, weight in ((product.description, 1), (product.name, 3)):
                for word in words_of(text):
                    self._index[word][product.id] = weight
        self._words = sorted(self._index)

    def search(self, query: str) -> list[Product]:
        """Products that hold every word of the query, best first; all when it has none. The
        last word may be unfinished: `lam` finds lamps."""
        words = words_of(query)
        if not words:
            return self.ranked
        scores = self._completed(words[-1])
        for word in words[:-1]:
            weights = self._index.get(word, {})
            scores = {id: score + weights[id] for id, score in scores.items() if id in weights}
        found = (self.products[id] for id in scores)
        return sorted(found, key=lambda item: (-scores[item.id], -item.popularity, item.id))

    def _completed(self, prefix: str) -> dict[int, int]:
        """Weights of all products with a word that starts with `prefix`; a whole word counts
        double."""
        scores: dict[int, int] = {}
        first = bisect_left(self._words, prefix)
        for word in self._words[first : first + PREFIX_WORDS_MAX]:
            if not word.startswith(prefix):
                break
            factor = 2 if word == prefix else 1
            for id, weight in self._index[word].items():
                scores[id] = max(scores.get(id, 0), weight * factor)
        return scores


service = Service("catalog", default_port=8081)
catalogue = Catalogue([])


@service.route("GET", "/products")
async def products(request: Request) -> Response:
    page = whole_number(request.query.get("page", "1"), "page", least=1, most=1_000_000)
    found = catalogue.search(request.query.get("q", ""))
    first = (page - 1) * PAGE_SIZE
    return as_json(
        {
            "total": len(found),
            "page": page,
            "pages": -(-len(found) // PAGE_SIZE),
            "products": [product.shown() for product in found[first : first + PAGE_SIZE]],
        }
    )


@service.route("GET", "/products/([0-9]{1,9})")
async def product(request: Request, id: str) -> Response:
    if int(id) not in catalogue.products:
        raise HttpError(404, f"no product {id}")
    return as_json(catalogue.products[int(id)].shown())


def start() -> None:
    """Fill the shelves."""
    global catalogue
    catalogue = Catalogue(generate())


if __name__ == "__main__":
    service.run(start)
