"""Slow twin: which evaluation items can be found, by which n-grams, with which weights."""

import math
from collections import defaultdict


def ngrams(tokens, length):
    return [tuple(tokens[i : i + length]) for i in range(len(tokens) - length + 1)]


def weights(groups):
    """idf of everything that occurs in the groups: ln((groups + 1) / groups with it)."""
    counts = defaultdict(int)
    for group in groups:
        for member in set(group):
            counts[member] += 1
    return {member: math.log((len(groups) + 1) / count) for member, count in counts.items()}


def distinct(members):
    return list(dict.fromkeys(members))


def common_places(tokens, phrases):
    """Places of the tokens that stand in a phrase."""
    places = set()
    for phrase in phrases:
        for at in range(len(tokens) - len(phrase) + 1):
            if phrase and tokens[at : at + len(phrase)] == phrase:
                places.update(range(at, at + len(phrase)))
    return places


def own_grams(tokens, phrases, settings, rules):
    """{n-gram: its first place} in their order, without those that stand in phrases or have too many tokens of one character."""
    n, common = settings.ngram_tokens, common_places(tokens, phrases)
    kept = {}
    for at in range(len(tokens) - n + 1):
        window = tokens[at : at + n]
        in_phrase = sum(place in common for place in range(at, at + n))
        single = sum(len(token) <= 1 for token in window)
        if 2 * in_phrase <= n and single <= rules.max_single_chars * n:
            kept.setdefault(tuple(window), at)
    return kept


class Items:
    """The items that can be found, in order; `split` makes a list of token strings of a text."""

    def __init__(self, items, settings, rules, split):
        self.settings = settings
        self.names, self.num_read = [], len(items)
        self.questions, self.answers, self.passages, self.grams, self.common = [], [], [], [], []
        self.finals, self.places = [], []
        seen = set()
        for item in items:
            question = split(item.question)
            answer = split(item.answer or "") if rules.use_answers else []
            passage = split(item.passage or "") if rules.use_passages else []
            texts = [question]
            if settings.plain:
                texts = [split(getattr(item, part) or "") for part in rules.plain_parts]
            names = distinct(["", item.benchmark])
            phrases = [split(phrase) for name in names for phrase in rules.common_phrases.get(name, ())]
            grams = distinct(gram for text in texts for gram in own_grams(text, phrases, settings, rules))
            everything = question + answer + passage
            key = (item.question, item.answer, item.passage, item.benchmark)
            enough = len(everything) >= rules.min_tokens and len(set(everything)) >= rules.min_unique_tokens
            if key not in seen and grams and enough:
                self.names.append(item.id)
                self.questions.append(question)
                self.answers.append(answer)
                self.passages.append(passage)
                mark = rules.final_mark
                marked = answer and mark is not None and mark in item.answer
                self.finals.append(split(item.answer.split(mark)[-1]) if marked else [])
                self.grams.append(grams)
                self.common.append(common_places(question, phrases))
                self.places.append(own_grams(question, phrases, settings, rules))
            seen.add(key)
        self._weigh()
        self.seeds = [self.choose_seeds(item) for item in range(len(self.names))] if settings.aligned else []

    def _weigh(self):
        s = self.settings
        self.idf = weights(self.grams)
        self.word_idf = weights(self.questions)
        self.answer_word_idf = weights(self.answers)
        self.answer_grams = [
            distinct(ngrams(answer, s.answer_ngram_tokens)) if len(answer) > s.short_answer_tokens else []
            for answer in self.answers
        ]
        self.answer_idf = weights(self.answer_grams)
        self.passage_grams = [distinct(ngrams(passage, s.passage_ngram_tokens)) for passage in self.passages]
        self.passage_idf = weights(self.passage_grams)
        self.postings = defaultdict(list)
        for item, grams in enumerate(self.grams):
            for gram in grams:
                self.postings[gram].append(item)
        self.hot = max(s.hot_ngram_items, 2 * math.isqrt(self.num_read))

    def part_weights(self, item):
        """(weight of question, answer, passage): Olmo 3 A.5, with what an unsure part loses moved to the others."""
        sure = 0.5 + 0.5 * min(len(self.grams[item]) / 20, 1.0)
        has_answer = len(self.answers[item]) > 0
        has_passage = len(self.passage_grams[item]) > 0
        if has_answer and has_passage:
            answer_sure = 0.5 + 0.5 * min(len(set(self.answers[item])) / 4, 1.0)
            moved = 0.7 * (1.0 - sure) * 0.5
            unsure = (0.2 + moved) * (1.0 - answer_sure)
            return 0.7 * sure, (0.2 + moved) * answer_sure, 0.1 + moved + unsure
        if has_answer:
            return 0.75 * sure, 0.25 + 0.75 * (1.0 - sure), 0.0
        if has_passage:
            return 0.85 * sure, 0.0, 0.15 + 0.85 * (1.0 - sure)
        return 1.0, 0.0, 0.0

    def word_weights(self, item):
        """Of each word of the question; nothing for those of a common phrase."""
        words = enumerate(self.questions[item])
        return [0.0 if at in self.common[item] else self.word_idf[word] for at, word in words]

    def choose_seeds(self, item):
        """{n-gram: its first place} of the 16 n-grams whose words weigh most, of equal ones the first.

        Those that more than 256 items have are left out; of an item that has nothing else the first three are taken.
        """
        n, word_weights, places = self.settings.ngram_tokens, self.word_weights(item), self.places[item]

        def worth(gram):
            weight = 0.0
            for at in range(places[gram], places[gram] + n):
                weight += word_weights[at]
            return -weight, places[gram]

        telling = [gram for gram in places if len(self.postings[gram]) <= 256]
        heaviest = sorted(telling or places, key=worth)[: 16 if telling else 3]
        return {gram: places[gram] for gram in heaviest}

    def needed_alone(self, item):
        """Overlap of a question that suffices without its answer."""
        s = self.settings
        length = len({word for word in self.questions[item] if len(word.encode()) > 1})
        if length < s.alone_start_tokens or s.question_alone > 1:
            return 2.0
        share = min((length - s.alone_start_tokens) / (s.alone_end_tokens - s.alone_start_tokens), 1.0)
        return s.short_question_alone - share * (s.short_question_alone - s.question_alone)

    def needed(self, item):
        """Raw score that the item needs."""
        length = len(self.questions[item]) + len(set(self.answers[item])) + len(self.passages[item])
        return self.between(length, self.settings.threshold)

    def least_overlap(self, item):
        """Overlap of the question below which nothing else is looked for."""
        floor = max((self.settings.threshold - (0.2 + 0.1)) / 0.7, 0.0)
        if self.settings.whole_short_questions:
            return self.between(len(self.questions[item]), floor)
        return floor

    def between(self, length, threshold):
        s = self.settings
        share = (length - s.decay_start_tokens) / (s.decay_end_tokens - s.decay_start_tokens)
        return 1.0 - min(max(share, 0.0), 1.0) * (1.0 - threshold)
